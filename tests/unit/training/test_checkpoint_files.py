import pytest
import torch

from modit.core.errors import ArtifactError
from modit.training.checkpoint import load_model, save_model


@pytest.mark.parametrize("heads", [{"copy_heads": 2}, {"copy_heads": 0, "linear_head": True}], ids=str)
def test_model_comes_back_as_it_was_and_the_same_weights_give_the_same_bytes(make_model, tmp_path, heads):
    model = make_model(**heads)
    save_model(tmp_path / "one.pt", model)
    loaded = load_model(tmp_path / "one.pt")
    assert loaded.config == model.config
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    first = (tmp_path / "one.pt").read_bytes()
    save_model(tmp_path / "one.pt", loaded)
    assert (tmp_path / "one.pt").read_bytes() == first


def test_missing_model_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"model\.pt: no model file"):
        load_model(tmp_path / "model.pt")
