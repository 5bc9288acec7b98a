"""Penalised solutions of operators that pad nothing, by completion of the rows of their stack."""
