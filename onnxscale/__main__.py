"""`python -m onnxscale` is the same as the command `onnxscale`."""

from onnxscale.cli import main

if __name__ == "__main__":
    main()
