"""Names of the rows of the task `search`, as `evaluation.json` has them."""

from __future__ import annotations

SPACE = "Text space"
BM25 = "BM25"
# The served one: words that are spelt alike count, too.
ALIKE = f"{BM25}, words spelt alike"
TOWERS, SIAMESE, SYMMALIGNER = "Towers", "Siamese tower", "Towers + SymmAligner"
INDEXED = f"{SYMMALIGNER}, consistent index"
FUSED = f"{BM25} + {SYMMALIGNER}"
# Row -> folder of the artifact `towers`.
FOLDERS = {TOWERS: "base", SIAMESE: "siamese", SYMMALIGNER: "symmaligner"}
