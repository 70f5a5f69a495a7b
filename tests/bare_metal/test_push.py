"""The push: the same tests as for the containers."""

from e2e.test_push import (
    test_a_client_without_our_subprotocol_gets_update_frames_only as test_a_client_without_our_subprotocol,
)
from e2e.test_push import (
    test_a_crop_is_pushed_to_its_owner_and_holds_exactly_its_voxels as test_a_crop_is_pushed_to_its_owner,
)
from e2e.test_push import (
    test_a_foreign_or_missing_origin_is_refused_before_the_upgrade as test_a_foreign_origin_is_refused,
)
from e2e.test_push import (
    test_a_message_reaches_its_addressee_and_nobody_else as test_a_message_reaches_its_addressee,
)
from e2e.test_push import test_an_anonymous_client_is_told_to_sign_in
from e2e.test_push import (
    test_every_client_gets_every_message_on_all_transports as test_every_client_gets_every_message,
)

__all__ = [
    "test_a_client_without_our_subprotocol",
    "test_a_crop_is_pushed_to_its_owner",
    "test_a_foreign_origin_is_refused",
    "test_a_message_reaches_its_addressee",
    "test_an_anonymous_client_is_told_to_sign_in",
    "test_every_client_gets_every_message",
]
