// expect: a shared_map compares keys by their encoded bytes
#include <bulkhead/bulkhead.hpp>

struct padded {
    char kind;
    int number;
};

int main() { const bulkhead::shared_map<padded, int> counts; }
