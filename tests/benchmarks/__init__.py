"""The benchmarks as a program: processes, records, comparison."""
