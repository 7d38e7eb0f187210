def bigger(number, by):
    return number + by
