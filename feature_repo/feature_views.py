"""The views: embedding, activity, and one for each domain. A row whose features are all null says: item removed."""

from datetime import timedelta

from entities import item
from feast import FeatureView, Field
from feast.types import Array, Float32, Int64, String
from sources import PUBLISHED, rows_of

FOREVER = timedelta(0)
ITEM_ID = Field(name="item_id", dtype=String)


def view(name: str, ttl: timedelta, *features: Field, **tags: str) -> FeatureView:
    """A view on the rows of its own name."""
    schema = [ITEM_ID, *features]
    return FeatureView(name=name, entities=[item], ttl=ttl, schema=schema, source=rows_of(name), tags=tags)


# The service compares the tag with the space that a model understands.
space = PUBLISHED.get("space", "")
item_embedding = view("item_embedding", FOREVER, Field(name="embedding", dtype=Array(Float32)), space=space)

# Popularity and freshness: what was true a week ago is not worth serving.
item_activity = view(
    "item_activity",
    timedelta(days=7),
    Field(name="interactions", dtype=Int64, description="in the window of the run"),
    Field(name="days_since_seen", dtype=Float32, description="since the last interaction; null: none, or no times"),
)

metric_views = {
    domain: view(
        f"item_metric_{domain}",
        FOREVER,
        Field(name="pattern", dtype=Int64, description="number of the nearest pattern of the domain"),
        Field(name="density", dtype=Float32, description="predicted share of the attribute around the item"),
    )
    for domain in PUBLISHED["domains"]
}
# Feast collects a module's own names.
globals().update({found.name: found for found in metric_views.values()})
