"""Which part of the server's environment a trainer gets."""

from collections.abc import Mapping

PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
        *("XDG_CACHE_HOME", "RUNYARD_CACHE", "RUNYARD_THREADS", "TOKENIZERS_PARALLELISM"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    }
)
PASSED_ON_PREFIXES = ("LC_", "HF_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH_")
SECRET_ENDINGS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIALS")
"""Whatever they begin with: HF_TOKEN, NVIDIA_API_KEY."""


def for_trainer(environ: Mapping[str, str]) -> dict[str, str]:
    """What a trainer needs of the server's environment, and no secret."""
    return {name: value for name, value in environ.items() if _is_passed_on(name)}


def _is_passed_on(name: str) -> bool:
    return name in PASSED_ON or (name.startswith(PASSED_ON_PREFIXES) and not name.endswith(SECRET_ENDINGS))
