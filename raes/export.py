"""`python -m raes.export run_dir=... out=policy.npz [checkpoint=best]`: a trained policy for use without RAES.

`out=NAME.npz`: plain numpy arrays; with no more than numpy they act as in `ACT` below, which the file holds too.
`out=NAME.pt` (needs raes[torch]): a TorchScript module from observations (n, obs) to actions, for torch.jit.load; for
a policy that is a PyTorch module itself, its state_dict and the normaliser, for torch.load.
`out=NAME.safetensors`: the state_dict of a model of env=module, for `safetensors`, `transformers` and other programs.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from raes.config.cli import check_out, command, parse
from raes.config.schema import Config
from raes.config.stored import load_to_use
from raes.evaluate import policy_snapshot
from raes.models.model_problem import ModelSpec
from raes.models.settings import ModuleSettings
from raes.policies import MLP, ActionSpec, ConvPolicy, TorchPolicy
from raes.policies.heads import Binned
from raes.problems.episode import EpisodeProblem
from raes.problems.spaces import action_spec
from raes.storage.checkpoint import Checkpoint, Checkpoints
from raes.storage.location import Location, run_location
from raes.tasks import Snapshot
from raes.training.build import problem_spec
from raes.training.model_files import with_weights, write_state
from raes.types import SETTINGS, UserError

ACT = """
def act(policy, observation):  # policy = numpy.load("policy.npz")
    x = numpy.ravel(observation)
    if "observation_mean" in policy:
        x = (x - policy["observation_mean"]) * policy["observation_scale"]
        x = numpy.clip(x, -policy["observation_clip"], policy["observation_clip"])
    x = x.astype(numpy.float32)
    last = int(policy["layers"]) - 1
    for layer in range(last + 1):
        x = policy[f"weights_{layer}"] @ x + policy[f"biases_{layer}"]
        if layer < last:
            x = numpy.tanh(x) if policy["nonlinearity"] == "tanh" else numpy.maximum(x, 0)
    kind = policy["action"]
    if kind == "box":
        low, high = policy["low"], policy["high"]
        x = x if low.dtype.kind == "f" else numpy.rint(x)
        return numpy.clip(x.reshape(low.shape), low, high).astype(low.dtype)
    if kind == "bins":
        values = policy["values"]
        return values[range(len(values)), x.reshape(values.shape).argmax(axis=1)].reshape(policy["shape"])
    if kind == "multi_binary":
        return (x > 0).reshape(policy["shape"]).astype("int8")
    ends = numpy.cumsum(policy["counts"])
    choices = [x[end - count : end].argmax() for end, count in zip(ends, policy["counts"])]
    choices = numpy.array(choices) + policy["start"]
    return choices[0] if kind == "discrete" else choices.reshape(policy["shape"])
"""
"""How to act with the arrays."""


@dataclass(frozen=True)
class ExportArguments:
    """The command line.

    Attributes:
        run_dir: the run.
        out: the file, `.npz`, `.pt` or `.safetensors`.
        checkpoint: `best`, `latest`, or a generation's number.
        trust: whether code of its own that a run of somebody else names may be used.
    """

    __pydantic_config__ = SETTINGS

    run_dir: str
    out: str
    checkpoint: str | int = "best"
    trust: bool = False

    def __post_init__(self) -> None:
        if Path(self.out).suffix not in (".npz", ".pt", ".safetensors"):
            raise ValueError(f"out={self.out}: the name must end in .npz or .pt; of a model in .safetensors")


def export(arguments: ExportArguments) -> str:
    """Write the file; returns what it holds, in words.

    Raises:
        UserError: there is no such run or checkpoint, or its policy cannot be written in this form.
    """
    run_dir = run_location(arguments.run_dir)
    config = load_to_use(run_dir, arguments.trust)
    checkpoint = Checkpoints(run_dir).find(str(arguments.checkpoint))
    if isinstance(config.env, ModuleSettings) != (Path(arguments.out).suffix == ".safetensors"):
        kind = "a model" if isinstance(config.env, ModuleSettings) else "no model of env=module"
        raise UserError(f"out={arguments.out}: {run_dir} trained {kind}; .safetensors is for these, and only that")
    if isinstance(config.env, ModuleSettings):
        return _export_model(config, run_dir, checkpoint, Path(arguments.out))
    with closing(problem_spec(config, checkpoint).build()) as problem:
        if not isinstance(problem, EpisodeProblem):
            raise UserError(
                f"run_dir={run_dir} searched a function, and has no policy to export; raes.evaluate with out=x.json "
                "writes its x"
            )
        snapshot = policy_snapshot(config, checkpoint, problem)
        spec = action_spec(problem.env.action_space, config.env.id)
        torch_wanted = Path(arguments.out).suffix == ".pt"
        if isinstance(problem.policy, ConvPolicy):
            raise UserError(f"run_dir={run_dir}: convolutional policies cannot be exported yet; use raes.evaluate")
        if isinstance(problem.policy, TorchPolicy):
            if not torch_wanted:
                raise UserError(f"out={arguments.out}: this policy is a PyTorch module; name a file that ends in .pt")
            _save_state(problem.policy, snapshot, arguments.out)
        elif torch_wanted:
            _save_script(arrays(problem.policy, snapshot, spec), arguments.out)
        else:
            np.savez(arguments.out, **arrays(problem.policy, snapshot, spec))
    return f"{checkpoint.path.name} of {run_dir}, {config.env.id}, {snapshot.theta.size} parameters"


def _export_model(config: Config, run_dir: Location, checkpoint: Checkpoint, out: Path) -> str:
    """Make the weights of a checkpoint on the CPU and write them; what the file holds, in words."""
    spec = problem_spec(config, checkpoint)
    assert isinstance(spec, ModelSpec)
    with threadpool_limits(1), closing(replace(spec, device="cpu").build()) as problem:
        problem.use(with_weights(run_dir, policy_snapshot(config, checkpoint, problem)))
        tensors = write_state((problem.save(part) for part in range(problem.parts)), out)
    return f"{checkpoint.path.name} of {run_dir}, {config.env.id}, {tensors} tensors"


def arrays(policy: MLP, snapshot: Snapshot, spec: ActionSpec) -> dict[str, Any]:
    """The policy as named arrays; `act` shows how they are used."""
    named: dict[str, Any] = {"layers": len(policy.shapes), "nonlinearity": policy.nonlinearity, "act": ACT}
    for number, (layer, (outputs, inputs, biases)) in enumerate(
        zip(policy.layers(snapshot.theta), policy.layer_sizes, strict=True)
    ):
        named[f"weights_{number}"] = layer[:, :inputs]
        named[f"biases_{number}"] = layer[:, inputs] if biases else np.zeros(outputs, np.float32)
    if snapshot.obs_mean is not None:
        named |= {"observation_mean": snapshot.obs_mean, "observation_scale": snapshot.obs_scale}
        named["observation_clip"] = snapshot.obs_clip
    named["shape"] = np.array(spec.shape, np.int64)
    if isinstance(policy.head, Binned):
        return named | {"action": "bins", "values": policy.head.values}
    if spec.kind == "box":
        assert spec.low is not None
        assert spec.high is not None
        return named | {"action": "box", "low": spec.low.astype(spec.dtype), "high": spec.high.astype(spec.dtype)}
    choices = {} if spec.counts is None else {"counts": spec.counts, "start": spec.start}
    return named | {"action": spec.kind} | choices


def _save_script(named: dict[str, Any], out: str) -> None:
    from raes.policies.torch_export import script

    script(named).save(out)


def _save_state(policy: TorchPolicy, snapshot: Snapshot, out: str) -> None:
    import torch

    policy.set_parameters(snapshot.theta)
    normaliser = None
    if snapshot.obs_mean is not None:
        pair = {"mean": torch.from_numpy(snapshot.obs_mean), "scale": torch.from_numpy(np.asarray(snapshot.obs_scale))}
        normaliser = pair | {"clip": snapshot.obs_clip}
    torch.save({"state_dict": policy.module.state_dict(), "normaliser": normaliser}, out)


def main() -> None:
    """The command."""
    arguments = parse(ExportArguments, sys.argv[1:], "raes.export", __doc__)
    check_out(arguments.out)
    print(f"{arguments.out}: {export(arguments)}")


if __name__ == "__main__":
    command(main)
