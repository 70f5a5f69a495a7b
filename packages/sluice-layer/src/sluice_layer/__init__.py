"""A channel layer for Django Channels on RabbitMQ that survives what RabbitMQ and the network do to it."""

from .consumers import TidyConsumer
from .core import RabbitmqChannelLayer
from .errors import LayerRefused, LayerUnavailable

__all__ = ["LayerRefused", "LayerUnavailable", "RabbitmqChannelLayer", "TidyConsumer"]
__version__ = "1.0.0"
