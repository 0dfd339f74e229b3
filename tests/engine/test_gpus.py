import pytest

from woolexec.engine.gpus import hiding, names_of, variables_of


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "3,5,7"}, ["3", "5"]),
        ({"CUDA_VISIBLE_DEVICES": " GPU-8932f937 , MIG-GPU-b/1/2 "}, ["GPU-8932f937", "MIG-GPU-b/1/2"]),
        ({"HIP_VISIBLE_DEVICES": "2,1"}, ["2", "1"]),
        ({"ROCR_VISIBLE_DEVICES": "6,4"}, ["6", "4"]),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "ROCR_VISIBLE_DEVICES": "6,4"}, ["2", "3"]),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, ["0", "1"]),
    ],
)
def test_devices_are_those_that_the_caller_sees(environment, names):
    assert names_of(2, environment) == names


@pytest.mark.parametrize("text", ["", "-1", "0", "NoDevFiles", "0,-1,2", "1,1"])
def test_too_few_devices_are_an_error_that_names_the_variable(text):
    with pytest.raises(ValueError, match=r"^resources: gpu=2, but CUDA_VISIBLE_DEVICES=.* leaves this process [01]$"):
        names_of(2, {"CUDA_VISIBLE_DEVICES": text})


def test_worker_sees_its_devices_and_no_others():
    made = variables_of(["3", "5"], {"CUDA_VISIBLE_DEVICES": "3,5,7"})
    assert made["CUDA_VISIBLE_DEVICES"] == made["HIP_VISIBLE_DEVICES"] == made["NVIDIA_VISIBLE_DEVICES"] == "3,5"
    assert "ROCR_VISIBLE_DEVICES" not in made


def test_devices_that_the_layer_below_leaves_are_numbered_anew():
    made = variables_of(["6", "4"], {"ROCR_VISIBLE_DEVICES": "6,4,2"})
    assert made["ROCR_VISIBLE_DEVICES"] == "6,4"
    assert made["HIP_VISIBLE_DEVICES"] == made["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_variables_that_hide_devices_of_the_host():
    assert hiding(2, {"CUDA_VISIBLE_DEVICES": "3,5"}) == hiding(0, {"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert "CUDA_VISIBLE_DEVICES" in hiding(2, {"CUDA_VISIBLE_DEVICES": "3"})
