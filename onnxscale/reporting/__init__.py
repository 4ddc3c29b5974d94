"""Any result as text for a terminal, or as JSON values. What a file says of itself is cleaned before it is shown."""
