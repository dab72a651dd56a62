"""Backbones by name, with the preprocessing that their weights expect."""

from packnet_tf.networks.build import Network, available, build, check_name
from packnet_tf.options.network import parse_options

__all__ = ["Network", "available", "build", "check_name", "parse_options"]
