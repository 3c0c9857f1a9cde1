"""What other libraries call our keys, for messages about keys that there are not."""

OTHER_NAMES = {
    **dict.fromkeys(("lr", "learning_rate", "step_size", "alpha"), ("optimizer.stepsize",)),
    **dict.fromkeys(("std", "noise_std", "noise_stddev", "sigma_init", "stdev_init"), ("algorithm.sigma",)),
    **dict.fromkeys(("population_size", "popsize", "pop_size"), ("algorithm.population", "algorithm.pairs")),
    **dict.fromkeys(("n_envs", "num_envs", "num_workers", "n_workers", "num_actors", "n_jobs"), ("workers",)),
    **dict.fromkeys(("total_timesteps", "n_timesteps", "timesteps", "max_steps"), ("max_timesteps",)),
    **dict.fromkeys(("epochs", "iterations", "n_iter", "num_generations", "max_generations"), ("generations",)),
    **dict.fromkeys(("net_arch", "hidden_sizes", "hidden_layers"), ("policy.hidden",)),
    **dict.fromkeys(("eval_freq", "eval_every"), ("evaluation.every",)),
    **dict.fromkeys(("target", "ftarget", "stop_fitness"), ("goal.return_mean",)),
    **dict.fromkeys(("logdir", "log_dir", "output_dir", "out_dir", "save_path"), ("run_dir",)),
}
"""By the last part of a key; the first of ours that there is counts."""
