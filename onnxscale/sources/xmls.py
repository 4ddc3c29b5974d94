"""XML through defusedxml: no DTD, no entities, nothing from outside the file."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import ParseError

from onnxscale.errors import StatisticsError

_ROOT = re.compile(rb"(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\])?\s*>|\s+)*<([A-Za-z_][\w.:-]*)", re.DOTALL)


def root_name(data: bytes) -> str:
    """The name of the first element, or "" where these bytes do not start as XML does."""
    found = _ROOT.match(data[:65536].removeprefix(b"\xef\xbb\xbf"))
    return found[1].decode().rpartition(":")[2] if found else ""


def parse(data: bytes) -> Any:
    """The root element. Raises StatisticsError for broken XML, a DTD and entities."""
    try:
        from defusedxml import ElementTree
        from defusedxml.common import DefusedXmlException
    except ImportError:
        raise StatisticsError("reading XML needs defusedxml: pip install 'onnxscale[xml]'") from None
    try:
        return ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise StatisticsError(f"XML with a DTD or entities is not read ({type(error).__name__})") from None
    except (ParseError, ValueError, LookupError, RecursionError, MemoryError) as error:
        raise StatisticsError(f"broken XML: {str(error)[:150]}") from None


def local(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]
