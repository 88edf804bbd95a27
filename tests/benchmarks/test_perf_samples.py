from __future__ import annotations

from benchmarks.perf_samples import IDLE, OTHERS, spent

LINES = """\
24361      7f1ecdafa965 unicodekeys_lookup_unicode (/opt/lib/libpython3.11.so.1.0)
24361  ffffffff822572d7 __get_user_8 ([kernel.kallsyms])
24361  ffffffff822572d7 __get_user_8 ([kernel.kallsyms])
    7      7eff63101747 main (/usr/bin/python3.11)
    7      7eff63101747 LONG_add_X86_V3 (/lib/numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so)
    0  ffffffff8242f57a pv_native_safe_halt ([kernel.kallsyms])
23889            828200 [unknown] (/opt/weed)
   99      7f1ec335778b operator()(int) const (/usr/lib/libcrypto.so.3)
WARNING: 3 samples lost
"""


def test_samples_are_counted_by_tier_and_by_what_they_were_in() -> None:
    tiers = {24361: "worker", 7: "client", 8: "client", 23889: "s3"}
    assert spent(LINES.splitlines(), tiers) == {
        "worker": {"kernel: __get_user_8": 2, "Python interpreter": 1},
        "client": {"Python interpreter": 1, "NumPy: LONG_add_X86_V3": 1},
        IDLE: {"kernel: pv_native_safe_halt": 1},
        "s3": {"weed": 1},
        OTHERS: {"libcrypto": 1},
    }


def test_the_most_comes_first() -> None:
    (parts,) = spent(LINES.splitlines()[:3], {24361: "worker"}).values()
    assert list(parts) == ["kernel: __get_user_8", "Python interpreter"]
