"""Reads an archive back and says whether it is whole and agrees with itself.

Nothing here knows how the formats are written: a fault of an exporter must not be repeated by whoever checks it. What is
read may come from anywhere, so it is streamed, nothing is unpacked to a path, and what is declared is held against
limits. Blocking. May import `store` for its JSON reader, and the core.

archive     the whole check                     container   the ZIP: names, sizes, sums
papers      manifest, SHA256SUMS, report        counts      the one table of formats and how their objects are counted
pictures    label images, sets of ROIs          sheets      the tables of metrics
agreement   the formats among each other        findings    what is found
"""
