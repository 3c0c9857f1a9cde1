"""A run's main metrics as gauges of Ray, which Prometheus reads from every node and Grafana draws."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge

DESCRIPTIONS = {
    "returns/mean": "Mean return of the last generation's episodes",
    "returns/std": "Standard deviation of these returns",
    "returns/max": "Highest of these returns",
    "eval/return_mean": "Mean return of the last evaluation, without noise",
    "eval/return_ci_low": "Lower end of its 95 % interval",
    "eval/return_ci_high": "Upper end of its 95 % interval",
    "episode/length_mean": "Mean timesteps of the last generation's episodes",
    "search/sigma": "Noise scale",
    "search/grad_norm": "Norm of the gradient estimate",
    "search/update_ratio": "Norm of the last update over the norm of theta",
    "search/theta_norm": "Norm of theta",
    "progress/generation": "Generations so far",
    "progress/episodes": "Training episodes so far",
    "progress/timesteps": "Training timesteps so far",
    "progress/seconds": "Seconds of the run so far",
    "speed/timesteps_per_second": "Training timesteps per second, last generation",
    "speed/worker_busy_fraction": "Share of the workers' time inside episodes, last generation",
    "speed/driver_busy_fraction": "Share of the driver's time that it did not wait, last generation",
    "speed/generation_seconds": "Seconds of the last generation",
    "pool/actors": "Workers at this moment",
    "faults/actors_lost": "Workers that died, since the run's beginning",
    "faults/tasks_reissued": "Episodes sent out again, since the run's beginning",
    "faults/results_discarded": "Results that came twice, since the run's beginning",
    "faults/episodes_quarantined": "Episodes left out, since the run's beginning",
    "faults/may_differ": "Events after which another run with this seed may have other bits, since the run's beginning",
    "live/answered": "Episodes of the generation under way that have a result",
    "live/asked": "Episodes of the generation under way",
}
"""Key of metrics.jsonl -> the metric's description; `live/` keys change within a generation."""
TAGS = ("run", "env", "algorithm", "seed")
"""Labels that distinguish runs: the run folder's name, and three keys of the configuration."""


def metric_name(key: str) -> str:
    """The name of a key's gauge in Ray; Prometheus shows it with the prefix `ray_`."""
    return "raes_" + key.replace("/", "_")


class Gauges:
    """The gauges of one run; Ray's own thread exports them every few seconds."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        """Register the gauges, without values.

        Args:
            tags: a value for each of `TAGS`.
        """
        self._gauges = {key: Gauge(metric_name(key), text, TAGS) for key, text in DESCRIPTIONS.items()}
        for gauge in self._gauges.values():
            gauge.set_default_tags(dict(tags))

    def __call__(self, metrics: Mapping[str, float]) -> None:
        """Set the gauges of these metrics; the others keep their last value."""
        for key, gauge in self._gauges.items():
            if key in metrics:
                gauge.set(metrics[key])
