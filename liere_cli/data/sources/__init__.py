"""Where data comes from: folders, archives, parquet files, hubs."""
