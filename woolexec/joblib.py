"""joblib's backend "woolexec": `register` it, then `parallel_config("woolexec")`."""

from woolexec.integrations.joblib_backend import register

__all__ = ["register"]
