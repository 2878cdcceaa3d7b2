"""Looking: the state of certificates, read page by page where that is cheaper, else one by one.

``listing`` knows how one listing is paged, ``paging`` reads many listings at a time, ``sightings`` keeps what was seen
of each row, ``looking`` decides what to read for a list of rows.
"""
