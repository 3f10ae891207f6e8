//! Values at fixed indices; a place that becomes free is the next to be taken.

use std::ops::{Index, IndexMut};

enum Place<T> {
    Taken(T),
    /// Free, and the index of the next that is.
    Free(Option<usize>),
}

pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Option<usize>,
    /// Places that were looked at, for the test that it never takes more of them.
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<u64>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            places: Vec::new(),
            free: None,
            #[cfg(test)]
            steps: std::cell::Cell::default(),
        }
    }
}

impl<T> Slab<T> {
    /// Bytes of one place.
    pub(super) const PLACE_BYTES: usize = size_of::<Place<T>>();

    #[inline]
    fn step(&self) {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
    }

    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.places.capacity() * Self::PLACE_BYTES
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        self.step();
        let Some(index) = self.free else {
            self.places.push(Place::Taken(value));
            return self.places.len() - 1;
        };
        match std::mem::replace(&mut self.places[index], Place::Taken(value)) {
            Place::Free(next) => self.free = next,
            Place::Taken(_) => unreachable!("place {index} is in the list of free ones"),
        }
        index
    }

    /// Takes a value out.
    ///
    /// # Panics
    /// When there is none at `index`.
    pub(super) fn remove(&mut self, index: usize) -> T {
        self.step();
        match std::mem::replace(&mut self.places[index], Place::Free(self.free)) {
            Place::Taken(value) => {
                self.free = Some(index);
                value
            }
            Place::Free(_) => unreachable!("place {index} is free"),
        }
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        self.step();
        match &self.places[index] {
            Place::Taken(value) => value,
            Place::Free(_) => unreachable!("place {index} is free"),
        }
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.step();
        match &mut self.places[index] {
            Place::Taken(value) => value,
            Place::Free(_) => unreachable!("place {index} is free"),
        }
    }
}
