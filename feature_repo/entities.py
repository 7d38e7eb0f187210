"""The one entity: an item of the catalogue."""

from feast import Entity, ValueType

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="An item of the catalogue.")
