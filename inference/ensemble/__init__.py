"""Models made of others: a graph of models that is run inside one request, in one process."""
