"""The sections of `params.yaml`, each a model in the module that is named after the room that reads it."""
