"""One DICOM file: its bytes become a parsed header and the words that were stored.

In: bytes. Out: elements with checked values, headers, decoded frames. Enter at `parse` and
`pixels`.
It knows no series: which files belong together is decided in the room above.
"""
