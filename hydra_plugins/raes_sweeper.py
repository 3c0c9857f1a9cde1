"""Hydra's sweeper for `experiment=tune`: Optuna chooses the values, a search can go on, and bad trials end early.

What it does is in `raes.training.tuning`; Hydra finds plugins in the namespace `hydra_plugins` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from raes.config.cli import display_path
from raes.console.output import show
from raes.training.prepare import job_folder
from raes.training.tuning import TUNER, Search, SearchSettings, command, distribution
from raes.types import UserError


class RaesSweeper(Sweeper):
    """`hydra.sweeper`: see `conf/hydra/sweeper/tune.yaml`."""

    def __init__(self, params: Mapping[str, str], **settings: Any) -> None:
        self._params, self._settings = params, SearchSettings(**settings)
        self.hydra_context: Any = None
        self.config: Any = None
        self.launcher: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until there are as many as asked for.

        Raises:
            UserError: the search cannot go on, or has nothing to choose.
        """
        where = str(self.config.hydra.sweep.dir)
        if "://" in where:
            raise UserError(f"hydra.sweep.dir={where}: a search is kept in a local folder; give hydra.sweep.dir=FOLDER")
        folder = Path(where)
        fixed, space = self._words(arguments)
        study = Search(folder, self._settings, space, resume=self.config.resume == "auto")
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        callbacks = ",".join(f"'{one}'" for one in [*self.config.callbacks, TUNER])
        number = 0
        while trials := study.ask():
            batch = [[*fixed, *trial.words, f"callbacks=[{callbacks}]"] for trial in trials]
            self.validate_batch_is_legal(batch)
            folders = dict(zip(map(self._folder, batch), trials, strict=True))
            with study.running(folders):
                returns = self.launcher.launch(batch, initial_job_idx=number)
            study.tell(trials, [one.return_value for one in returns])
            number += len(trials)
            self._draw(study, folder)
        self._finish(study, folder, fixed)

    def _folder(self, words: list[str]) -> str:
        """The name of a job's folder, which has none of the keys that `hydra.job.config` leaves out of names."""
        hidden = self.config.hydra.job.config.override_dirname.exclude_keys
        return job_folder([word for word in words if word.lstrip("+").partition("=")[0] not in hidden])

    def _words(self, arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
        """The words that all trials have, and key -> distribution of the others; the command line wins."""
        words = [f"{key}={value}" for key, value in self._params.items()] + arguments
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        fixed, space = dict[str, str](), dict[str, Any]()
        for one in parser.parse_overrides(words):
            key = one.get_key_element().lstrip("+")
            fixed.pop(key, None)
            space.pop(key, None)
            if one.is_sweep_override():
                space[key] = distribution(one)
            else:
                fixed[key] = str(one.input_line)
        if not space:
            raise UserError("the search has nothing to choose; give a key as KEY=interval(LOW,HIGH) or KEY=choice(A,B)")
        return list(fixed.values()), space

    def _draw(self, study: Search, folder: Path) -> None:
        """The picture of the search so far, where matplotlib is installed."""
        from raes.report.search_chart import draw

        try:
            (folder / "search.png").write_bytes(draw(study.finished, study.keys))
        except UserError:  # no matplotlib
            return

    def _finish(self, study: Search, folder: Path, fixed: list[str]) -> None:
        """Print what was found, and keep it."""
        show(study.summary())
        best = study.best
        if best is None:
            return
        (folder / "optimization_results.yaml").write_text(OmegaConf.to_yaml(study.results()))
        given = [word for word in fixed if not word.lstrip("+").startswith(("run_dir=", "resume=", "callbacks="))]
        shown = display_path(str(folder.absolute()))
        pasted = command([*given, *best.words, f"run_dir={shown}-best"])
        show(f"  train with it     {pasted}")
        (folder / "best.sh").write_text(pasted + "\n")
        if (folder / "search.png").exists():
            show(f"  the picture       {shown}/search.png")
        show(f"  compare the runs  python -m raes.report {shown}")
