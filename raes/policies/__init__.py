"""Policies: a flat float32 vector of parameters in, actions out. In numpy, and in PyTorch with `policy=torch`."""

from raes.policies.conv_policy import ConvPolicy, ConvSettings
from raes.policies.factory import AnyPolicySettings, Policy, build_policy
from raes.policies.heads import ActionSpec, Head, build_head
from raes.policies.mlp import MLP, PolicySettings
from raes.policies.torch_policy import TorchPolicy, TorchSettings

__all__ = [
    "MLP",
    "ActionSpec",
    "AnyPolicySettings",
    "ConvPolicy",
    "ConvSettings",
    "Head",
    "Policy",
    "PolicySettings",
    "TorchPolicy",
    "TorchSettings",
    "build_head",
    "build_policy",
]
