"""Fits what pruning leaves, so that each layer answers as before."""

from packnet_tf.reconstruct.changes import Change
from packnet_tf.reconstruct.normalization import Normalization, may_fit
from packnet_tf.reconstruct.walk import reconstruct

__all__ = ["Change", "Normalization", "may_fit", "reconstruct"]
