"""`cxm secret`: the secrets that a node's settings name."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

from cli import founding_key
from cli.envelope import Failure, Finding, failure
from cli.node_folder import NodeFolder
from cli.options import GLOBAL, CxmCommand, Invocation, invocation
from cli.render.text import line
from cli.settings import config_path, node_settings
