"""Sections of `params.yaml`: the fan-out policy, its reinforcement learning, and the diffusion over sets of queries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modit.core.params import Positive, Section, Share
from modit.training.params import LoopParams

NonNegative = Annotated[float, Field(ge=0)]


class FanOutParams(LoopParams):
    """Section `train_fan_out`: the text space, and the policy with its supervised start.

    Attributes:
        batch: intents in a global batch.
        dimension: d, most numbers of a text's vector (the paper's 128).
        general_share: of vectors of a general language (WordLlama's, extra `text`) in the text space, beside those of
            titles; 0: titles alone.
        queries: k, queries of a set (the paper's is 10; sets of the public data have 2 to 10 items).
        words: W, most words that a query adds to the intent (the paper's prompt: one to three).
        prompt_words: most words of an intent that the policy and the diffusion read, its first known ones.
        word_count_min: a word that fewer titles and training intents have is not in the policy's vocabulary.
        width: H of the policy; a multiple of 2 * heads.
        depth: blocks of the policy.
        heads: attention heads.
        dropout: on embeddings, attention and MLP outputs.
        near_items: items near one of the intent's set that a template may describe in its place; 0 for none.
        relevant_min: least relevance of a label that makes an item part of the intent's set.
    """

    steps: Positive = 400
    batch: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    dimension: Positive = 128
    general_share: Annotated[float, Field(ge=0, lt=1)] = 0.6
    queries: Annotated[int, Field(ge=2)] = 8
    words: Positive = 2
    prompt_words: Positive = 8
    word_count_min: Positive = 3
    width: Positive = 128
    depth: Positive = 2
    heads: Positive = 4
    dropout: Share = 0.1
    near_items: Annotated[int, Field(ge=0)] = 5
    relevant_min: NonNegative = 1.0


class RewardParams(Section):
    """What a set of queries is rewarded for.

    Attributes:
        kind: set (equation (5): recall of the intent's items at the pool) or abstract (equation (1), which needs no
            items of the intent).
        ground: lambda_g, weight of groundedness in equation (1); all three are the paper's.
        diversity: lambda_d.
        alignment: lambda_a.
        pool_share: size of the pool over that of the catalogue (the paper's 5,000 of 142,472).
    """

    kind: Literal["set", "abstract"] = "set"
    ground: NonNegative = 0.6
    diversity: NonNegative = 0.2
    alignment: NonNegative = 0.2
    pool_share: Annotated[float, Field(gt=0, le=1)] = 0.035

    def pool(self, items: int, queries: int) -> int:
        """Items of a pool: the share of a catalogue of `items`, at least one for each query where it has as many."""
        return min(items, max(queries, 1, round(self.pool_share * items)))


class SoftGrpoParams(LoopParams):
    """Section `align_fan_out`: Soft-GRPO. Group, clip and both weights are the paper's.

    Attributes:
        batch: intents in a global batch; each has `group` outputs.
        learning_rate: the paper's 1e-7 is for a network of 4 billion parameters; a small one moves nowhere with it.
        group: G, outputs of an intent that advantages are relative to.
        clip_ratio: epsilon of equations (7) and (8).
        forward: beta_1, weight of KL(pi_theta || pi_old).
        reverse: beta_2, weight of KL(pi_old || pi_theta).
        reward: of an output.
    """

    steps: Positive = 150
    batch: Positive = 8
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    log_every: Positive = 10
    group: Annotated[int, Field(ge=2)] = 8
    clip_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    forward: NonNegative = 0.05
    reverse: NonNegative = 0.05
    reward: RewardParams = RewardParams()


class SynthesisParams(Section):
    """Samples of the policy that the diffusion learns from.

    Attributes:
        samples: of each training intent (the paper's is 128).
        temperature: that they are sampled at (the paper's).
        rows: what a row of a target is: query (vector of a sub-query, the paper's choice for intents with items) or
            content (vector of the item that a sub-query finds first, its choice for intents without).
        kept: share of an intent's samples, the best by the reward of `align_fan_out`, that are kept; 1 keeps all, as
            the paper's method does. Its introduction speaks of a filter.
    """

    samples: Positive = 8
    temperature: Annotated[float, Field(gt=0)] = 0.9
    rows: Literal["query", "content"] = "query"
    kept: Annotated[float, Field(gt=0, le=1)] = 1.0


class SetDiffusionParams(LoopParams):
    """Section `train_set_diffusion`: the diffusion over sets of query vectors, and its sampler.

    Attributes:
        width: H of the denoiser; a multiple of 2 * heads.
        depth: blocks.
        heads: attention heads.
        dropout: on attention and MLP outputs.
        condition_dropout: chance that a target is trained without its intent, for guidance (the paper's).
        noise_mean: mean of ln(sigma / sigma_data) in training. EDM's is -0.5 for images; of a vector of hundreds of
            numbers more noise is needed before it is unclear which one it was.
        noise_spread: its standard deviation (EDM's).
        sigma_min: least noise of the sampler, in units of sigma_data (EDM's is 0.004): at less, a step changes nothing.
        sigma_max: greatest noise of the sampler, in units of sigma_data (EDM's is 160): at more, all is noise.
        solver: heun (EDM's second order, 2 n - 1 calls of the denoiser, no noise after the first draw) or sde
            (ancestral steps, n calls).
        sampler_steps: n; the paper takes 256.
        guidance: scales to choose from on validation intents; 1 is no guidance.
        synthesis: of the training targets.
    """

    steps: Positive = 600
    batch: Positive = 64
    ema: Share = 0.995
    width: Positive = 128
    depth: Positive = 2
    heads: Positive = 4
    dropout: Share = 0.0
    condition_dropout: Share = 0.1
    noise_mean: float = 0.7
    noise_spread: Annotated[float, Field(gt=0)] = 1.2
    sigma_min: Annotated[float, Field(gt=0)] = 0.1
    sigma_max: Annotated[float, Field(gt=0)] = 20.0
    solver: Literal["heun", "sde"] = "sde"
    sampler_steps: Positive = 16
    guidance: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0, 2.0)
    synthesis: SynthesisParams = SynthesisParams()
