"""launch/gke: the manifests as Kubernetes and JobSet read them, the table of TPU slices, and what kubectl is asked."""

import itertools
import math

import pytest
import yaml
from support.launchers import FLAGS, GKE, LAUNCH, assert_flags_are_read, launch, words_of

from itm_jax.devices import environment
from itm_jax.errors import DivergedError, InputError, LostProcessError, TerminatedError

PODS_3 = GKE | {"PODS": "3"}
V6E = GKE | {"TPU": "v6e", "TOPOLOGY": "4x4"}
EXTRACT = ("extract", "--images=/shared/a b", "--captions=/shared/c.csv", "--out=/shared/out")


def manifests(*arguments, **variables):
    """The documents that a dry run prints."""
    return list(yaml.safe_load_all(launch("gke/run.sh", "--dry_run", *arguments, **variables)[0]))


def assert_valid(document):
    """Kubernetes' own schema knows each field; the newest version of the installed package."""
    kubernetes = pytest.importorskip("kubernetes_validate", reason="pip install -e '.[launchers]'")
    kubernetes.validate(document, kubernetes.latest_version(), strict=True)


def assert_valid_jobset(document):
    """The model that Kubeflow generates from JobSet's own definition knows each field, and Kubernetes the Jobs in it."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="pip install -e '.[launchers]'")
    read = models.JobsetV1alpha2JobSet.from_dict(document)
    assert read.to_dict()["spec"] == document["spec"]  # it drops what it does not know
    for replicated in document["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": document["metadata"]}
        assert_valid(job | {"spec": replicated["template"]["spec"]})


def test_the_manifest_for_gpus_is_whole():
    service, job = manifests(*FLAGS, **PODS_3)
    assert service["metadata"]["name"] == job["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 3
    [container] = job["spec"]["template"]["spec"]["containers"]
    variables = {v["name"]: v["value"] for v in container["env"]}
    assert variables["JAX_COORDINATOR_ADDRESS"] == "itm-jax-0.itm-jax:12355"
    assert (variables["JAX_NUM_PROCESSES"], variables[environment.WAIT]) == ("3", "3600")
    flags = words_of(container)
    assert flags == ["-m", "itm_jax.main", *FLAGS]
    assert_flags_are_read(flags[1:])
    assert container["image"] == GKE["IMAGE"]


def test_the_manifest_of_an_extraction_gives_each_pod_its_part():
    for pods, shard in (("3", ["--shard=1/3"]), ("1", [])):
        [job] = manifests(*EXTRACT, **(GKE | {"PODS": pods}))
        assert job["metadata"]["name"] == "itm-jax-extract"
        assert job["spec"]["completions"] == int(pods)
        [container] = job["spec"]["template"]["spec"]["containers"]
        assert words_of(container) == ["-m", "itm_jax.extract", *EXTRACT[1:], *shard]


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(FLAGS, PODS_3), (FLAGS, GKE | {"QUEUE": "team", "NAME": "no"}), (EXTRACT, PODS_3 | {"QUEUE": "7"})],
)
def test_kubernetes_reads_the_manifests_for_gpus(arguments, variables):
    documents = manifests(*arguments, **variables)
    for document in documents:
        assert_valid(document)
    queue = {"kueue.x-k8s.io/queue-name": variables["QUEUE"]} if "QUEUE" in variables else {}
    assert documents[-1]["metadata"]["labels"] == queue


def test_a_field_that_kubernetes_does_not_know_is_found():
    """The check above can fail."""
    pytest.importorskip("kubernetes_validate", reason="pip install -e '.[launchers]'")
    [job] = manifests(*EXTRACT, **GKE)
    job["spec"]["podFailurePolicies"] = {}
    with pytest.raises(Exception, match="podFailurePolicies"):
        assert_valid(job)
    [jobset] = manifests(*FLAGS, **V6E)
    jobset["spec"]["failurePolicy"]["maxRestart"] = 1
    with pytest.raises(AssertionError):
        assert_valid_jobset(jobset)


@pytest.mark.parametrize(
    "more", [{}, {"SLICES": "2"}, {"SPOT": "1", "QUEUE": "team", "NAME": "mine"}, {"TOPOLOGY": "1x1"}]
)
def test_jobset_reads_the_manifest_for_tpus(more):
    assert_valid_jobset(*manifests(*FLAGS, **(V6E | more)))


def test_the_manifest_for_several_slices():
    [jobset] = manifests(*FLAGS, **V6E, SLICES="2", SPOT="1", QUEUE="team")
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
    placement = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    assert jobset["metadata"]["annotations"] == placement
    [slices] = jobset["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    assert (slices["replicas"], job["completions"], job["parallelism"]) == (2, 4, 4)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert not {v["name"] for v in container["env"]} & {*environment.PLAIN}  # JAX reads what GKE sets
    flags = words_of(container)
    assert flags == ["-m", "itm_jax.main", *FLAGS]
    assert_flags_are_read(flags[1:])


SAVED = TerminatedError("").exit_code
WRONG = [InputError.exit_code, DivergedError.exit_code]  # another try ends in the same way
OTHER = [1, 134, 137]  # a defect, an abort, no memory


def reaction(job, code, *, disrupted=False):
    """What Kubernetes does about a failed pod: the action of the first rule that fits it, else it counts the failure."""
    [container] = job["template"]["spec"]["containers"]
    for rule in job["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule:
            codes = rule["onExitCodes"]
            assert (codes["operator"], codes.get("containerName", container["name"])) == ("In", container["name"])
            fits = code in codes["values"]
        else:
            [condition] = rule["onPodConditions"]
            fits = disrupted and condition == {"type": "DisruptionTarget"}
        if fits:
            return rule["action"]
    return "Count"


def reaction_of_the_set(jobset, code, *, disrupted=False):
    """What JobSet does about a failed pod, once its Job has failed: the first rule that fits the reason, else a restart."""
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (
        0,
        "Never",
    )  # a failure that counts is one
    reason = {"FailJob": "PodFailurePolicy", "Count": "BackoffLimitExceeded"}[reaction(job, code, disrupted=disrupted)]
    rules = jobset["spec"]["failurePolicy"]["rules"]
    return next((rule["action"] for rule in rules if reason in rule["onJobFailureReasons"]), "RestartJobSet")


def test_a_preempted_job_is_started_again_without_limit_and_bad_input_ends_it():
    for job in (manifests(*FLAGS, **PODS_3)[1]["spec"], manifests(*EXTRACT, **PODS_3)[0]["spec"]):
        assert job["template"]["spec"]["restartPolicy"] == "Never"  # else the policy is not allowed
        assert {reaction(job, code, disrupted=True) for code in (*OTHER, SAVED, LostProcessError.exit_code)} == {
            "Ignore"
        }
        assert reaction(job, InputError.exit_code) == "FailJob"
        assert {reaction(job, code) for code in OTHER} == {"Count"}
        assert job["backoffLimit"] >= 10
    job = manifests(*FLAGS, **PODS_3)[1]["spec"]
    assert {reaction(job, code) for code in WRONG} == {"FailJob"}
    assert {reaction(job, code) for code in (SAVED, LostProcessError.exit_code)} == {
        "Ignore"
    }  # the pods beside a preempted one


def test_a_preempted_pod_starts_all_slices_again_and_bad_input_does_not():
    [jobset] = manifests(*FLAGS, **V6E)
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] >= 10
    assert {reaction_of_the_set(jobset, code) for code in WRONG} == {"FailJobSet"}
    for disrupted in (False, True):
        restarted = (*OTHER, SAVED, LostProcessError.exit_code)
        assert {reaction_of_the_set(jobset, code, disrupted=disrupted) for code in restarted} == {"RestartJobSet"}


SMALL = ["2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "8x8x8", "8x12x16"]
FLAT = ["1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"]
LABELS = {"v5e": "tpu-v5-lite-podslice", "v6e": "tpu-v6e-slice", "v5p": "tpu-v5p-slice", "tpu7x": "tpu7x"}
TOPOLOGIES = {"v5e": FLAT, "v6e": FLAT, "v5p": [*SMALL, "12x16x20"], "tpu7x": [*SMALL, "1x1x1", "12x16x48"]}


@pytest.mark.parametrize("tpu", LABELS)
def test_nodes_and_chips_follow_from_the_topology(tpu):
    for topology in TOPOLOGIES[tpu]:
        [jobset] = manifests("--config=a", **GKE, TPU=tpu, TOPOLOGY=topology)
        job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
        pod = job["template"]["spec"]
        chips = pod["containers"][0]["resources"]["limits"]["google.com/tpu"]
        assert job["completions"] * chips == math.prod(map(int, topology.split("x")))
        assert chips == (1 if set(topology) <= {"1", "x"} else 4)
        assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == LABELS[tpu]
        assert pod["hostNetwork"] is False
        assert bool(jobset["metadata"]["annotations"]) == (job["completions"] > 1)
    for other, topology in itertools.product(LABELS, ["2x2x3", "4x4x2", "8x4x4", "3x3", "4", "0x4x4", "64x64x64"]):
        _, err = launch("gke/run.sh", "--dry_run", "--config=a", code=2, **GKE, TPU=other, TOPOLOGY=topology)
        assert f"TOPOLOGY={topology}: not one of TPU={other}; set one of " in err


def test_a_node_with_eight_chips():
    [jobset] = manifests("--config=a", **GKE, TPU="v5e", TOPOLOGY="2x4", CHIPS="8")
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["completions"] == 1
    assert job["template"]["spec"]["containers"][0]["resources"]["limits"] == {"google.com/tpu": 8}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TPU": "v6e"}, "TOPOLOGY is not set; for TPU=v6e set one of 1x1 2x2 "),
        ({"TPU": "v7"}, "TPU=v7: say v5e, v5p, v6e or tpu7x"),
        ({"TPU": "v6e", "TOPOLOGY": "4x4x4"}, "TOPOLOGY=4x4x4: not one of TPU=v6e"),
        ({"TOPOLOGY": "4x4"}, "TOPOLOGY=4x4: is for TPUs; set TPU=v6e or another type, or unset TOPOLOGY"),
        ({"SPOT": "1"}, "SPOT=1: is for TPUs"),
        (V6E | {"PODS": "4"}, "PODS=4: TPU and TOPOLOGY say how many nodes there are; unset PODS"),
        (V6E | {"CHIPS": "8"}, "CHIPS=8: a node of TPU=v6e with TOPOLOGY=4x4 has 4"),
        (V6E | {"TOPOLOGY": "2x4", "CHIPS": "2"}, "CHIPS=2: a node of TPU=v6e with TOPOLOGY=2x4 has 4 or 8 chips"),
        (V6E | {"SLICES": "two"}, "SLICES=two: must be a whole number from 1"),
        (V6E | {"TOPOLOGY": "2x2", "SLICES": "2"}, "SLICES=2: GKE joins only slices of several nodes"),
        ({"NAME": "My_Run"}, "NAME=My_Run: must be at most 40 lower-case letters"),
        ({"NAME": "a" * 41}, "must be at most 40 lower-case letters"),
        ({"QUEUE": "a: b"}, "QUEUE=a: b: not a name that Kubernetes allows"),
        ({"IMAGE": "a b"}, "IMAGE=a b: not the name of an image"),
        ({"PODS": "0"}, "PODS=0: must be a whole number from 1"),
        ({"CLAIM": ""}, "CLAIM is not set; "),
    ],
)
def test_mistakes_are_said(variables, message):
    _, err = launch("gke/run.sh", "--config=a", code=2, **(GKE | variables))
    assert err.startswith("error: launch/gke/run.sh: ")
    assert message in err
    assert err.count("\n") == 1


def test_an_extraction_does_not_run_on_tpus():
    _, err = launch("gke/run.sh", *EXTRACT, code=2, **V6E)
    assert "extract runs on GPUs alone" in err


@pytest.mark.parametrize(
    ("state", "asked", "code"),
    [
        ("", ["get", "apply"], 0),
        ("itm-jax", ["get"], 2),
        ("itm-jax Suspended", ["get"], 2),
        ("itm-jax StartupPolicyCompleted", ["get"], 2),
        ("itm-jax Completed", ["get", "delete", "apply"], 0),
        ("itm-jax FailureTarget Failed", ["get", "delete", "apply"], 0),
    ],
)
def test_only_a_finished_run_of_that_name_is_replaced(tmp_path, state, asked, code):
    (tmp_path / "kubectl").write_text(
        f'#!/bin/sh\necho $1 >> {tmp_path}/asked\n[ $1 != get ] || echo "{state}"\n[ $1 != apply ] || cat > {tmp_path}/sent\n'
    )
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    for variables in (GKE, V6E):
        (tmp_path / "asked").unlink(missing_ok=True)
        _, err = launch("gke/run.sh", *FLAGS, code=code, **(variables | {"PATH": path}))
        assert (tmp_path / "asked").read_text().split() == asked
        if code:
            assert "itm-jax is running or waits; delete it first, or set NAME" in err
        else:
            assert list(yaml.safe_load_all((tmp_path / "sent").read_text())) == manifests(*FLAGS, **variables)


def test_the_words_in_braces_are_all_filled_in():
    for file in (LAUNCH / "gke").glob("*.yaml"):
        settings = V6E if file.name == "jobset.yaml" else GKE
        words = EXTRACT if file.name == "extract.yaml" else FLAGS
        assert "${" in file.read_text()
        assert "${" not in launch("gke/run.sh", "--dry_run", *words, **settings)[0]
