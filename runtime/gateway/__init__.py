"""Configurations for the stock proxies in front of a fleet: they find the pod whose call a tool belongs to."""

from runtime.gateway.configuration import Kind, print_config
from runtime.gateway.options import CALLS_MAP, GatewayOptions

__all__ = ["CALLS_MAP", "GatewayOptions", "Kind", "print_config"]
