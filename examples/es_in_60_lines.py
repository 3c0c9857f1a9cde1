"""Evolution Strategies (Salimans et al. 2017, algorithm 2) on CartPole in 60 lines, without workers, files or faults.

The random numbers are those of RAES, so that the curve is RAES's own, digit by digit:

    python examples/es_in_60_lines.py
    python -m raes.train env=CartPole policy=linear_zero algorithm.pairs=20 algorithm.sigma=0.1 optimizer=plain \
        optimizer.stepsize=0.5 algorithm.normalize_observations=false generations=10 evaluation.every=0 runtime=serial

It shows what `algorithm=es` does, and prints mean, worst and best return of the 40 perturbed policies per generation.
"""

import gymnasium
import numpy as np

from raes.rng import Purpose, generator, reset_seed
from raes.search.noise import make_table, table_size

SEED, PAIRS, SIGMA, STEPSIZE, GENERATIONS = 0, 20, 0.1, 0.5, 10
OBSERVATIONS, ACTIONS, PARAMETERS = 4, 2, 4 * 2


def episode(env: gymnasium.Env, theta: np.ndarray, seed: int) -> float:
    """The return of a linear policy: the action of the largest output."""
    weights, total, ended = theta.reshape(ACTIONS, OBSERVATIONS), 0.0, False
    observation, _ = env.reset(seed=seed)
    while not ended:
        outputs = weights @ observation.astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(int(outputs.argmax()))
        total, ended = total + float(reward), terminated or truncated
    return total


def centered_ranks(returns: np.ndarray) -> np.ndarray:
    """From -0.5 for the worst to 0.5 for the best; equal returns share their rank."""
    flat = returns.ravel()
    ranks = np.array([(flat < one).sum() + ((flat == one).sum() - 1) / 2 for one in flat])
    return (ranks / (flat.size - 1) - 0.5).reshape(returns.shape)


def main() -> np.ndarray:
    env, theta = gymnasium.make("CartPole-v1"), np.zeros(PARAMETERS, np.float32)
    table = make_table(table_size(PARAMETERS))  # standard normal numbers, of which each pair takes a slice
    for generation in range(GENERATIONS):
        places = generator(SEED, Purpose.NOISE_INDEX, generation).integers(0, table.size - PARAMETERS + 1, size=1024)
        noise = np.stack([table[place : place + PARAMETERS] for place in places[:PAIRS]])
        returns = np.zeros((PAIRS, 2))
        for pair in range(PAIRS):
            seed = reset_seed(SEED, Purpose.TRAINING, generation, 2 * pair)  # both of a pair begin alike
            for column, sign in enumerate((1, -1)):
                perturbed = theta + np.float32(sign * SIGMA) * noise[pair]
                returns[pair, column] = episode(env, perturbed, seed)
        utilities = centered_ranks(returns)
        gradient = (utilities[:, 0] - utilities[:, 1]) @ noise / (2 * PAIRS)
        theta = theta + np.float32(STEPSIZE) * gradient.astype(np.float32)
        print(f"gen {generation:2d}  return {returns.mean():6.2f}  {returns.min():5.1f} to {returns.max():5.1f}")
    return theta


if __name__ == "__main__":
    main()
