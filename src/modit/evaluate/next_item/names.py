"""Names of the rows of the task `next_item`, as `evaluation.json` has them."""

from __future__ import annotations

POPULARITY, ITEM_KNN, EASE = "Popularity", "Item-kNN", "EASE"
SASREC_BINARY, SASREC_FULL = "SASRec, binary cross-entropy", "SASRec, full cross-entropy"
SEMANTIC_IDS = "Semantic IDs"
SEMANTIC_IDS_RAD_DPO, SEMANTIC_IDS_ADAGRPO = f"{SEMANTIC_IDS} + RAD-DPO", f"{SEMANTIC_IDS} + AdaGRPO"
# What callers get: the retriever after the last alignment with the votes of neighbours, answering from its exported
# files.
SERVED = f"{SEMANTIC_IDS} + neighbours"
SASREC_NEIGHBOURS = f"{SASREC_FULL}, + neighbours"
