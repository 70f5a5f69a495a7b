"""Django's settings, one concern a file. What an operator may choose comes from mysite/environment.py.

https://docs.djangoproject.com/en/5.2/ref/settings/
"""

from .core import *  # noqa: F403
from .database import *  # noqa: F403
from .logs import *  # noqa: F403
from .messaging import *  # noqa: F403
from .security import *  # noqa: F403
from .sessions import *  # noqa: F403
from .site import *  # noqa: F403
from .static_files import *  # noqa: F403
