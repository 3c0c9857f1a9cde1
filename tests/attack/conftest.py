"""The fixtures of the integration tests serve the attacks too."""

from integration.conftest import (
    _nothing_is_left_on_the_shared_ray,
    commands,
    fork_server,
    module_commands,
    ray_folder,
    shared_ray,
)

__all__ = [
    "_nothing_is_left_on_the_shared_ray",
    "commands",
    "fork_server",
    "module_commands",
    "ray_folder",
    "shared_ray",
]
