"""The kernel's heap where memory is as scattered as it can be."""
import pytest
from conftest import run_cairn

BLOCK_PAGES = (64 << 20) >> 12


@pytest.mark.cairn(labels="qemu", seconds=180)
def test_a_block_of_64_mib_is_whole_and_grows_while_every_second_frame_is_held(kernels):
    ended = run_cairn(
        "--kernel", kernels("kernel-debug"), "--memory", "256M", "--timeout", "120", "--exec", "test heap_large*; check"
    ).need_success()
    assert f"# a block of {BLOCK_PAGES} pages; " in ended.log
