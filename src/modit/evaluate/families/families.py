"""The families of retrievers: what each is asked with, and where a run of its pipeline has its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modit.data.catalog import EMBEDDINGS_FILE
from modit.data.judged_queries import QueryPart
from modit.data.sessions import SessionPart
from modit.data.splits import HOLDOUTS
from modit.evaluate.fan_out.names import SERVED as SERVED_INTENTS
from modit.evaluate.names import SERVED as SERVED_SEEDS
from modit.evaluate.next_item.names import SERVED as SERVED_SESSIONS
from modit.evaluate.search.names import FOLDERS, SYMMALIGNER
from modit.evaluate.search.names import FUSED as SERVED_TEXTS
from modit.inference.exported_files import PARITY_FILE
from modit.inference.fan_out_files import FAN_OUT_FILE
from modit.inference.fan_out_files import FILES as FAN_OUT_FILES
from modit.inference.next_item_files import DENSE_FILES, FILES, RETRIEVER_FILE
from modit.inference.sampler_file import SAMPLER_FILE
from modit.inference.search_files import ALL_FILES as SEARCH_FILES
from modit.inference.search_files import SEARCH_FILE
from modit.metric.second_stage import LOG_ODDS_FILE, PATTERNS_FILE, SECOND_STAGE_FILE

# Files of an artifact; None for all.
Files = Mapping[str, tuple[str, ...] | None]
MODEL_FILE = "model.pt"


@dataclass(frozen=True)
class Family:
    """A way to retrieve, and where a run of its pipeline has its figures.

    Attributes:
        name: For people.
        pipeline: That trains it.
        per_domain: Whether there is a retriever for each attribute domain, or one for the catalogue.
        evaluation: Artifact with the figures of its own task.
        row: Of the evaluation: what callers get.
        figures: Of its own task: name in `evaluation.json` -> for people, with K in the place of {k}.
        places: Decimals of these figures.
        trial: Artifact of the trial in a fresh process.
        served: Files that only this retriever needs to answer.
        shared: Files that the retrievers of all domains share.
        info: File beside the exported network with what it says of itself.
        request: Field of that file: most items that a request is read of; and what they are.
        trained: Artifacts of the steps that train it.
        trained_for_all: Artifacts of the steps that train for all domains at once.
        network: Artifact with the weights of the network that answers, and their file.
        cases: Split of the evaluation -> what its cases are.
        words: What a user asks first: question -> answer.
    """

    name: str
    pipeline: str
    per_domain: bool
    evaluation: str
    row: str
    figures: Mapping[str, str]
    places: int
    trial: str
    served: Files
    shared: Files
    info: str
    request: tuple[str, str]
    trained: tuple[str, ...]
    trained_for_all: tuple[str, ...]
    network: tuple[str, str]
    cases: Mapping[str, str]
    words: Mapping[str, str]


TAKES, RETURNS, NEEDS, NEW_ITEM, FILTERS = "Takes", "Returns", "Training needs", "A new item", "Filters"
MO_DIT = Family(
    name="MO-DiT",
    pipeline="retrain",
    per_domain=True,
    evaluation="evaluation",
    row=SERVED_SEEDS,
    figures={"joint": "Joint@{k}"},
    places=3,
    trial="servability",
    served={"sampler": (SAMPLER_FILE,), "second_stage": (SECOND_STAGE_FILE, LOG_ODDS_FILE, PATTERNS_FILE)},
    shared={"index": None, "catalog": (EMBEDDINGS_FILE,)},
    info="sampler.json",
    request=("maximum_seeds", "seeds"),
    trained=("predictor", "finetuned", "hppo_1", "hppo_2", "hppo_3", "hppo_4", "readout", "second_stage"),
    trained_for_all=("pretrained", "continued"),
    network=("hppo_4", MODEL_FILE),
    cases={str(split): split.description for split in HOLDOUTS},
    words={
        TAKES: "some items (seeds), and the attribute of the column",
        RETURNS: "items like the seeds (of their pattern) that have the attribute",
        NEEDS: "embeddings, and the scorer's verdicts on the attribute; sessions help where there are some",
        NEW_ITEM: "gets its embedding into the index and can be found; nothing is trained, no verdict is needed",
        FILTERS: "yes, inside the search of the index: a list is only short where fewer items are allowed",
    },
)
SEMANTIC_IDS = Family(
    name="Semantic IDs",
    pipeline="semantic_ids",
    per_domain=False,
    evaluation="next_item_evaluation",
    row=SERVED_SESSIONS,
    figures={"recall_at_10": "Recall@10", "ndcg_at_10": "NDCG@10"},
    places=4,
    trial="next_item_servability",
    served={"exported_retriever": (RETRIEVER_FILE, *(name for name in FILES + DENSE_FILES if name != PARITY_FILE))},
    shared={},
    info=RETRIEVER_FILE,
    request=("session_items", "items of a session"),
    trained=("item_codes", "next_item_retriever", "next_item_retriever_rad_dpo", "next_item_retriever_adagrpo"),
    trained_for_all=(),
    network=("next_item_retriever_adagrpo", MODEL_FILE),
    cases={str(SessionPart.TEST): SessionPart.TEST.description},
    words={
        TAKES: "the items of a session, oldest first",
        RETURNS: "items that are likely to be next",
        NEEDS: "embeddings and sessions; no verdicts",
        NEW_ITEM: "gets an ID from its embedding and can be found; nothing is trained; among the items that share its "
        "ID it counts as one without interactions",
        FILTERS: "yes, inside the trie of IDs: a list is only short where fewer items are allowed",
    },
)
TOWERS = Family(
    name="Text towers",
    pipeline="towers",
    per_domain=False,
    evaluation="search_evaluation",
    row=SERVED_TEXTS,
    figures={"ndcg_at_10": "NDCG@10", "recall_at_10": "Recall@10", "recall_at_100": "Recall@100"},
    places=4,
    trial="search_servability",
    served={"exported_towers": (SEARCH_FILE, *(name for name in SEARCH_FILES if name != PARITY_FILE))},
    shared={},
    info=SEARCH_FILE,
    request=("words_max", "words of a text"),
    trained=("towers", "consistent_index"),
    trained_for_all=(),
    network=("towers", f"{FOLDERS[SYMMALIGNER]}/{MODEL_FILE}"),
    cases={str(QueryPart.TEST): "test queries"},
    words={
        TAKES: "a text that describes items",
        RETURNS: "items that it describes, by their words and by the towers",
        NEEDS: "titles, and queries with judged items; no verdicts",
        NEW_ITEM: "needs a run, which can be a short one: the index holds the titles of its catalogue",
        FILTERS: "yes, before ranks are taken: a list is only short where fewer items are allowed",
    },
)
FAN_OUT = Family(
    name="Fan-out",
    pipeline="fan_out",
    per_domain=False,
    evaluation="fan_out_evaluation",
    row=SERVED_INTENTS,
    figures={"coverage": "coverage", "diversity": "diversity"},
    places=4,
    trial="fan_out_servability",
    served={"exported_fan_out": (FAN_OUT_FILE, *(name for name in FAN_OUT_FILES if name != PARITY_FILE))},
    shared={},
    info=FAN_OUT_FILE,
    request=("prompt_words", "words of an intent"),
    trained=("fan_out_policy", "aligned_fan_out_policy", "set_diffusion"),
    trained_for_all=(),
    network=("set_diffusion", f"aligned/{MODEL_FILE}"),
    cases={str(QueryPart.TEST): "test intents"},
    words={
        TAKES: "an intent in words",
        RETURNS: "a set of items that covers it, and the queries that found them",
        NEEDS: "titles, and intents with sets of items; no verdicts",
        NEW_ITEM: "needs a run: the text space is fitted on the titles of its catalogue",
        FILTERS: "yes, before lists are cut: a set is only short where fewer items are allowed",
    },
)
FAMILIES = (MO_DIT, SEMANTIC_IDS, TOWERS, FAN_OUT)
