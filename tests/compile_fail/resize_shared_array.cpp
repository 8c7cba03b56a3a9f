// expect: a shared_array keeps its size
#include <bulkhead/bulkhead.hpp>

int main() { bulkhead::shared_array<int>(3).resize(4); }
