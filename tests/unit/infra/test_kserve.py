"""The service under KServe: what its API is sent, and that the pods are those of the overlay below.

That the objects which the operator makes of it keep all rules is tested with those of the other overlays.
"""

from __future__ import annotations

import copy

import pytest
from kserve_rules import CONTAINER, OWN, as_operated, breaches
from rendered import KSERVE, Cluster, render

BREAKS = {
    "a field that does not exist": ("no field replicas", lambda p: p.update(replicas=2)),
    "a number that is a word": ("minReplicas is no int", lambda p: p.update(minReplicas="two")),
    "another container": ("is not kserve-container", lambda p: p["containers"][0].update(name="serve")),
    "no limit": ("limits of its own", lambda p: p["containers"][0]["resources"]["limits"].pop("cpu")),
}


@pytest.fixture(scope="module")
def objects():
    return render(KSERVE)


@pytest.fixture
def service(objects):
    return copy.deepcopy(Cluster(objects).get("InferenceService", "modit-serve"))


def test_the_api_of_kserve_knows_every_field(service):
    assert list(breaches(service)) == []


@pytest.mark.parametrize("how", BREAKS)
def test_the_rules_of_kserve_see_when_they_are_broken(service, how):
    word, break_it = BREAKS[how]
    break_it(service["spec"]["predictor"])
    assert any(word in line for line in breaches(service))


def test_the_pods_are_those_of_the_deployment_whose_place_it_takes(objects, service):
    below = Cluster(render("overlays/local")).get("Deployment", "modit-serve")["spec"]
    predictor = service["spec"]["predictor"]
    pod = {name: value for name, value in predictor.items() if name not in OWN}
    pod["containers"][0]["name"] = below["template"]["spec"]["containers"][0]["name"]
    del pod["containers"][0]["resources"]["limits"]["cpu"]
    assert pod == below["template"]["spec"]
    assert predictor["deploymentStrategy"] == below["strategy"]
    assert "modit-serve" not in Cluster(objects).names("Deployment") | Cluster(objects).names("HorizontalPodAutoscaler")


def test_services_and_policies_of_base_take_the_pods_that_kserve_starts(objects):
    cluster = Cluster(as_operated(objects))
    assert cluster.pods["modit-serve-predictor"]["spec"]["containers"][0]["name"] == CONTAINER
    for name in ("modit-serve", "modit-serve-pods"):
        selector = cluster.get("Service", name)["spec"]["selector"]
        assert cluster.selected({"matchLabels": selector}) == {"modit-serve-predictor"}
    assert cluster.may_talk("modit-serve-predictor", "mlflow", 5000)
    assert not cluster.may_talk("step", "modit-serve-predictor", 8000)
