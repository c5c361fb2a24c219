"""A bulk file, without a table and without a request: read, checked line by line, and cut into parts.

reader       a CSV file as records, in the dialect that `dialect` detects or the caller names
workbook     an Excel workbook as records, within the bounds of `workbook_guard`
source       what both have in common: title rows, the template's own rows, spaces, the rows as Excel numbers them
validation   which records may be sent, and each fault of the others, by the rules of `columns`
parts        the canonical text of the good ones, in parts
doubts       what is sent although Excel may have changed it
unchanged    whether a line would change what is stored
"""
