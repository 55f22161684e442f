"""The runner that lies in each bundle: pictures as OpenCV shrinks them, and what it refuses."""

import json

import cv2
import numpy as np
import pytest

from glocal.data import mapping
from glocal.deploy.runner import BundleError, numbers, read_spec, shown, weights


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (64, 64, 64),
        (128, 128, 64),
        (480, 640, 64),
        (50, 70, 64),
        (24, 32, 64),
        (100, 40, 64),
        (65, 64, 64),
        (33, 200, 32),
    ],
)
def test_pictures_are_resized_as_the_logs_were(height, width, size):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = shown({"crop": None, "size": size}, picture)  # as earlier bundles tell it
    theirs = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # OpenCV rounds on its way


def test_pictures_of_logs_that_keep_videos_are_seen_as_those_are():
    picture = np.random.default_rng(0).integers(0, 256, (31, 48, 3), dtype=np.uint8)
    camera = {"crop": None, "size": 24, "filmed": True}
    assert np.array_equal(shown(camera, picture), shown(camera | {"filmed": False}, mapping.subsampled(picture)))
    assert not np.array_equal(shown(camera, picture), shown(camera | {"filmed": False}, picture))


def test_a_crop_is_taken_before_resizing():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[8:40, 20:52] = 200
    assert (shown({"crop": [8, 20, 32, 32], "size": 16, "filmed": False}, picture) == 200).all()


@pytest.mark.parametrize(("count", "size", "shrinks"), [(100, 64, True), (24, 64, False), (64, 64, True), (7, 3, True)])
def test_weights_of_pixels_add_up_to_one(count, size, shrinks):
    found = weights(count, size, shrinks)
    assert found.shape == (size, count)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found >= -1e-12).all()


def test_weights_of_a_half_by_hand():
    np.testing.assert_allclose(weights(3, 2, True), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])


def test_numbers_are_picked_scaled_and_shifted():
    stream = {"columns": [2, 0], "scale": [2.0, 10.0], "offset": [1.0, -1.0]}
    np.testing.assert_allclose(numbers(stream, np.array([1.0, 7.0, 3.0])), [7.0, 9.0])


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"holds no policy that was exported"):
        read_spec(tmp_path)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"format": "glocal policy", "version": 99, "sha256": ""}, "of version 99, this runner reads"),
        ({"format": "glocal policy", "version": 1, "sha256": "0" * 64}, "copy the whole folder again"),
        ({"format": "glocal policy"}, "holds no policy"),
        ([], "holds no policy"),
    ],
)
def test_a_bundle_of_another_version_or_half_copied_is_refused(tmp_path, spec, said):
    (tmp_path / "bundle.json").write_text(json.dumps(spec))
    (tmp_path / "policy.onnx").write_bytes(b"half")
    with pytest.raises(BundleError, match=said):
        read_spec(tmp_path)
