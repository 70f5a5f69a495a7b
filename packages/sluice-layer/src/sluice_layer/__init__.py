"""A channel layer for Django Channels on RabbitMQ that recovers from failures of RabbitMQ and the network."""

from .consumers import TidyConsumer
from .core import RabbitmqChannelLayer
from .errors import LayerRefused, LayerUnavailable

__all__ = ["LayerRefused", "LayerUnavailable", "RabbitmqChannelLayer", "TidyConsumer"]
__version__ = "1.0.0"
