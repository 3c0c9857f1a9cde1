"""Policies: a flat float32 vector of parameters in, actions out. numpy only."""

from raes.policies.heads import ActionSpec, Head, build_head
from raes.policies.mlp import MLP, PolicySettings, build_policy

__all__ = ["MLP", "ActionSpec", "Head", "PolicySettings", "build_head", "build_policy"]
