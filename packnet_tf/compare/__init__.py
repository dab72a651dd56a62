"""PackNet beside other methods: the same data and budget, one table."""
