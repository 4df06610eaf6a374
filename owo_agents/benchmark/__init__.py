"""The benchmark: suites of cells, their results, statistics, tables, charts and the report."""
