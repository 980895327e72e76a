"""mrd_flow: finds leukaemic cells in flow cytometry, event by event."""
