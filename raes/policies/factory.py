"""Builds the policy that settings describe."""

from __future__ import annotations

import math

from raes.policies.conv_policy import ConvPolicy, ConvSettings
from raes.policies.heads import ActionSpec, build_head
from raes.policies.mlp import MLP, PolicySettings
from raes.policies.torch_policy import TorchPolicy, TorchSettings

Policy = MLP | ConvPolicy | TorchPolicy
AnyPolicySettings = PolicySettings | ConvSettings | TorchSettings


def build_policy(shape: tuple[int, ...], actions: ActionSpec, settings: AnyPolicySettings) -> Policy:
    """The policy for observations of this shape, which it is given flat, and this action space.

    Raises:
        UserError: the settings do not fit the observations or the action space.
    """
    head = build_head(actions, settings.bins)
    if isinstance(settings, TorchSettings):
        return TorchPolicy(shape, head, settings)
    if isinstance(settings, ConvSettings):
        return ConvPolicy(shape, head, settings)
    return MLP(math.prod(shape), head, settings)
