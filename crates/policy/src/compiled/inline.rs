//! A list that needs no allocation as long as it's short.

/// At most `N` values in place; more than that on the heap.
#[derive(Clone, Debug)]
pub(super) struct Inline<T, const N: usize> {
    near: [T; N],
    len: usize,
    far: Vec<T>,
}

impl<T: Copy + Default, const N: usize> Default for Inline<T, N> {
    fn default() -> Self {
        Self {
            near: [T::default(); N],
            len: 0,
            far: Vec::new(),
        }
    }
}

impl<T: Copy, const N: usize> Inline<T, N> {
    pub(super) fn push(&mut self, value: T) {
        if !self.far.is_empty() {
            self.far.push(value);
        } else if let Some(place) = self.near.get_mut(self.len) {
            *place = value;
            self.len += 1;
        } else {
            self.far.reserve(2 * N);
            self.far.extend_from_slice(&self.near);
            self.far.push(value);
        }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        if self.far.is_empty() {
            &self.near[..self.len]
        } else {
            &self.far
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Keeps what `wanted` says, in order.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(T) -> bool) {
        if !self.far.is_empty() {
            // An empty `far` would bring back what stands in `near`.
            self.far.retain(|value| wanted(*value));
            self.len = 0;
            return;
        }
        let mut kept = 0;
        for index in 0..self.len {
            if wanted(self.near[index]) {
                self.near[kept] = self.near[index];
                kept += 1;
            }
        }
        self.len = kept;
    }
}

impl<T: Copy + Ord, const N: usize> Inline<T, N> {
    /// Sorts, and leaves one of each.
    pub(super) fn sort_and_dedup(&mut self) {
        if !self.far.is_empty() {
            self.far.sort_unstable();
            self.far.dedup();
            return;
        }
        self.near[..self.len].sort_unstable();
        let mut previous = None;
        self.retain(|value| previous.replace(value) != Some(value));
    }
}

#[cfg(test)]
mod tests {
    use super::Inline;

    #[test]
    fn short_and_long_lists_behave_alike() {
        for count in [0_u32, 1, 4, 5, 50] {
            let mut list = Inline::<u32, 4>::default();
            (0..count).rev().for_each(|value| list.push(value / 2));
            list.sort_and_dedup();
            let expected: Vec<_> = (0..count.div_ceil(2)).collect();
            assert_eq!(list.as_slice(), expected);
            list.retain(|value| value % 2 == 1);
            assert!(list.as_slice().iter().all(|value| value % 2 == 1));
            list.retain(|_| false);
            assert!(list.is_empty());
        }
    }
}
