"""The demo world: a generated catalogue in the input contract, with the difficulty that modit is made for."""

from modit.data.demo.faults import KINDS, DemoFault
from modit.data.demo.parameters import DOMAIN_NAMES, DemoParameters
from modit.data.demo.write import write_demo_world

__all__ = ["DOMAIN_NAMES", "KINDS", "DemoFault", "DemoParameters", "write_demo_world"]
