"""The numbers in docs/benchmarks.md, each measured side by side in one run."""
