"""What the figures are made of: protocols, measures, sentences that several share.

- ``best_and_worst``: The best and the worst of many equal plain networks, whose only difference is chance (§2.4;
  figures 4, S2 and S7).
- ``bias_regularisation``: Bias regularisation (§2.6), and the study that figures 5 and 6 share: six networks of 30
  layers, trained once.
- ``deep_linear``: What figure S5 shows: deep linear networks, their phase portraits and their speed, solved (Note 5).
- ``differences``: What the paper's protocol leaves open or is done otherwise here, in sentences that several figures
  share.
- ``eigenvalue_shares``: Shares of degenerate and negative eigenvalues of Hessians too large to be counted exactly
  (§2.3, Note 3).
- ``estimates``: Estimated fractions of eigenvalues held against exact counts: what figure S3's claims measure.
- ``input_scalings``: Networks that are trained at several input scalings: their names, how signals grow in them, and
  their picture.
- ``linear_measures``: What the claims of figures S4 and S5 measure of linear networks, solved.
- ``protocol``: The paper's training protocol at the four scales, and the study of networks that are trained by it.
- ``singular_points``: Networks put exactly on the singularities of figure 1, and what their Hessians do there
  (orhan2018 §2.1, Note 1).
- ``skip_matrices``: What figure 8 measures of skip matrices: their eigenvalues, and how fast those of correlations
  fall.
- ``small_networks``: What figures S1 to S3 and S6 share: networks so small that their Hessians are counted exactly
  (Note 4).
- ``trainable_depth``: Where trainability ends: the depth at which half of the gain in accuracy is lost, of each kind
  of networks.
- ``two_hidden_measures``: What figure 2's claims measure of two hidden units and of linear dependence, solved.
- ``two_hidden_units``: What figure 2 shows: two hidden units (b, c) and linear dependence (d, e), solved.
- ``two_modes``: What figure S4 shows: linear three-layer networks with two modes, solved, and their Hessian (Note 5).
"""
